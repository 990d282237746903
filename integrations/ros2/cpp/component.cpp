// The node in C++: sensor_msgs/Image in, the purified picture, its label and its times out. One region, or the whole
// picture. Not compiled where this was written: it needs rclcpp.
#include <cmath>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <puvae.hpp>
#include <rclcpp/rclcpp.hpp>
#include <rclcpp_components/register_node_macro.hpp>
#include <sensor_msgs/msg/image.hpp>
#include <std_msgs/msg/float64.hpp>
#include <std_msgs/msg/int32.hpp>
#include <string>
#include <vector>

namespace puvae_ros {

using sensor_msgs::msg::Image;

class Purifier : public rclcpp::Node {
 public:
    explicit Purifier(const rclcpp::NodeOptions& options)
        : Node("puvae", options),
          deadline_ms_(declare_parameter<double>("deadline_ms", 0.0)),
          region_(declare_parameter<std::vector<std::int64_t>>("region", std::vector<std::int64_t>{})),
          engine_(declare_parameter<std::string>("engine")),
          context_(engine_),
          result_(engine_) {
        if (!region_.empty() && region_.size() != 4)
            throw std::invalid_argument("region: got " + std::to_string(region_.size()) +
                                        " numbers, expected x, y, width, height or none");
        crops_ = create_publisher<Image>("~/crops", 1);
        labels_ = create_publisher<std_msgs::msg::Int32>("~/label", 1);
        latency_ = create_publisher<std_msgs::msg::Float64>("~/debug/pipeline_latency_ms", 1);
        images_ = create_subscription<Image>("image", rclcpp::QoS(1).best_effort(),
                                             [this](Image::ConstSharedPtr image) { purify(*image); });
    }

 private:
    void purify(const Image& image) {
        const auto age_ms = [&] { return (now() - rclcpp::Time(image.header.stamp)).seconds() * 1e3; };
        if (deadline_ms_ > 0 && age_ms() > deadline_ms_) return;
        try {
            run(described(image));
        } catch (const puvae::Error& error) {
            RCLCPP_WARN_THROTTLE(get_logger(), *get_clock(), 5000, "%s", error.what());
            return;
        }
        labels_->publish(std_msgs::msg::Int32().set__data(result_->label));
        latency_->publish(std_msgs::msg::Float64().set__data(age_ms()));
        if (!result_.degraded()) crops_->publish(crop(image));
    }

    void run(const puvae_frame& frame) {
        if (region_.empty()) return context_.run(frame, result_);
        const auto side = [&](std::size_t at) { return static_cast<std::int32_t>(region_[at]); };
        context_.run(frame, puvae_region{side(0), side(1), side(2), side(3)}, result_);
    }

    static puvae_frame described(const Image& image) {
        const auto width = static_cast<std::int32_t>(image.width), height = static_cast<std::int32_t>(image.height);
        if (image.encoding == "mono8") return puvae::gray(image.data, width, height, image.step);
        if (image.encoding == "bgr8") return puvae::bgr(image.data, width, height, image.step);
        if (image.encoding == "rgb8") return puvae::rgb(image.data, width, height, image.step);
        throw puvae::Error(PUVAE_ERROR_ARGUMENT,
                           "encoding: got " + image.encoding + ", expected mono8, bgr8 or rgb8; convert it upstream");
    }

    Image crop(const Image& image) const {
        const auto& info = engine_.info();
        const auto pixels = static_cast<std::size_t>(info.height) * static_cast<std::size_t>(info.width);
        const auto channels = static_cast<std::size_t>(info.channels);
        Image made;
        made.header = image.header;
        made.height = static_cast<std::uint32_t>(info.height);
        made.width = static_cast<std::uint32_t>(info.width);
        made.encoding = channels == 1 ? "mono8" : "rgb8";
        made.step = static_cast<std::uint32_t>(made.width * channels);
        made.data.resize(pixels * channels);
        for (std::size_t i = 0; i < pixels; ++i)
            for (std::size_t c = 0; c < channels; ++c)
                made.data[i * channels + c] =
                    static_cast<std::uint8_t>(std::lround(result_.image()[c * pixels + i] * 255.0f));
        return made;
    }

    double deadline_ms_;
    std::vector<std::int64_t> region_;
    puvae::Engine engine_;
    puvae::Context context_;
    puvae::Result result_;
    rclcpp::Publisher<Image>::SharedPtr crops_;
    rclcpp::Publisher<std_msgs::msg::Int32>::SharedPtr labels_;
    rclcpp::Publisher<std_msgs::msg::Float64>::SharedPtr latency_;
    rclcpp::Subscription<Image>::SharedPtr images_;
};

}  // namespace puvae_ros

RCLCPP_COMPONENTS_REGISTER_NODE(puvae_ros::Purifier)
